"""The traps of DESIGN section 3: what naive code gets, and that this package does not.

Each test is named after its trap, so that a release of transformers that changes one is noticed by name.
"""
