"""What to show a customer next; the method and its figures are told in docs/recommendations.md.

`rules` is the section of the settings, `purchases` who bought what, `products` which of it is bought again and how
often, `co_purchase` what is bought together, `stock` what is there, `shelf` all of that by product in arrays, `lists`
the ranking of many customers at once over a shelf, `goods` the frames around it, `finance` who is eligible for what,
`backtest` how often lists were right. A shelf is as large as the products; what grows with customers stays in Spark.
"""
