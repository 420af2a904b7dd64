"""The sections of the report, each in a file that is named like its heading, and what they share.

Tables with a row for each point are in `points_table`. Helpers of one section: `claim_findings` (of `field_claims`),
`certificate` (of `how_far_to_trust_it`), `mask_pictures` and `where_they_agree_least` (of `are_the_masks_the_same`),
`trend_lines` (of `from_run_to_run`). `batch_objects_map` draws for `speedup_over_batch_and_objects` and
`what_fits_into_memory`. This package may import `reading` and `render`.
"""
