"""What the model can do in the world: tools, their arguments, their time limits, and the businesses they serve."""
