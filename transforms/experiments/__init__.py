"""What experiments showed: who is counted, how they did before and after, and how sure a difference is.

Spark sums per metric, segment and variant, exactly; the formulas then see a few hundred rows of plain numbers. In
order: designs → assigned → outcomes (calendar_days where days are compared) → moments → read_out, which asks
comparisons, cuped, sample_ratio, holm and verdicts.
"""
