"""Administration: tenants, categories, credentials, recipients."""
