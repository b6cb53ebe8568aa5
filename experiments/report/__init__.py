"""The page in the browser that shows what the tables say."""
