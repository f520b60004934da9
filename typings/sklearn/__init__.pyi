# What we use of scikit-learn, which carries no types of its own. Add a line here when you use more of it.
