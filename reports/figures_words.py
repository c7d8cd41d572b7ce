"""Words for the columns of errors, as an axis shows them."""

from __future__ import annotations

UNITS = {
    "error_ulp_median": "median error, ulp",
    "error_ulp_p99": "error that 99 % of the elements keep, ulp",
    "error_ulp_max": "largest error, ulp",
    "error_ulp_rms": "rms error, ulp",
    "error_scaled_ulp_max": "largest error, ulp of Σ|terms|",
    "error_scaled_ulp_rms": "rms error, ulp of Σ|terms|",
    "error_abs_max": "largest absolute error",
    "error_abs_mean": "mean absolute error",
    "error_abs_rms": "rms absolute error",
}
"""Another column is shown by its name."""
