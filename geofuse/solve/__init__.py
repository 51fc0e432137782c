"""The estimator: noise, subspace, closed form, EM, classes and the guided step."""
