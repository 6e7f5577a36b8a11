"""Everything that passes between the parts of a call: frozen values, one file a subject."""
