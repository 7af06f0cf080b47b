"""Building the looks of the synthetic capture from published packages: `nvf-cli looks build`. Nothing else imports this package."""
