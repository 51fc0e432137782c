"""How good a method is: reference metrics and Wald's protocol."""
