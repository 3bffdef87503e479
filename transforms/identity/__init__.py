"""Who is who: identifiers -> links -> components -> customers."""
