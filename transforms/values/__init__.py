"""What a customer will be worth, and what is to be expected of them; rules and formulas are told in docs/value.md.

Orders to come (BG/NBD) × value of an order (Gamma-Gamma), discounted, are plain numpy and scipy: a job fits on the
driver, over a histogram of sufficient statistics whose size does not grow with the number of customers, and predicts
inside Arrow functions, customer by customer. Churn, potential, clusters and finance are Spark expressions over tags and
events; what two of them learn is fitted by scipy on the driver too (`learning`).
"""
