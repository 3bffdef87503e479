"""How strong the rules are: packaged defaults in YAML. No code; a package so that zips and wheels carry it."""
