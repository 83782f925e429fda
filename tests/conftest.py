"""In tests, every public tensor signature of the models is checked against what it is called with."""

from jaxtyping import install_import_hook

install_import_hook("mm1.models", "beartype.beartype")
