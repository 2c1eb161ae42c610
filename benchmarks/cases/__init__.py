"""Cases of public reports, each by its id: what a user did, run again on the present code."""
