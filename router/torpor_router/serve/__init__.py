"""`torpor serve`: the composition root, where every part is made and handed to the others."""
