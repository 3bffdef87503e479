"""What a customer will be worth: orders to come (BG/NBD) × value of an order (Gamma-Gamma), discounted.

Plain numpy and scipy: a job fits on the driver, over a histogram of sufficient statistics whose size does not grow
with the number of customers, and predicts inside Arrow functions, customer by customer.
"""
