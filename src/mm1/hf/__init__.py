"""Other projects' model folders in and out, and mm1 among the models of transformers.

    import mm1.hf                                            # registers model_type "mm1"
    AutoModelForImageTextToText.from_pretrained(exported)

    folder, image_encoders, decoders …     what others saved, read and written; these do not need transformers
    configuration, modeling, processing …  mm1 behind transformers' interfaces

Importing this package registers its classes where transformers is installed, and does nothing else.
"""

from importlib.util import find_spec

if find_spec("transformers") is not None:
    from mm1.hf.registration import register

    register()
