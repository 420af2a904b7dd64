from harness.guard import start

if __name__ == "__main__":
    raise SystemExit(start("report.cli"))
