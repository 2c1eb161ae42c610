"""The Descript audio codec: a residual quantiser between convolutions, 86 frames a second."""
