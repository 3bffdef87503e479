"""What to show a customer next; the method and its figures are told in docs/recommendations.md.

`rules` is the section of the settings, `purchases` who bought what, `products` which of it is bought again and how often,
`co_purchase` what is bought together, `stock` what is there, `goods` the lists of customers, `finance` who is eligible for
what, `backtest` how often the lists were right. Everything per product is small and broadcast; everything per customer
stays where the first shuffle by customer put it.
"""
