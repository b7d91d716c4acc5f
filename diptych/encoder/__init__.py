"""A model with its tokenizer and its preprocessing: loading, encoding, classifying."""
