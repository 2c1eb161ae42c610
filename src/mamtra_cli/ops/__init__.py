"""Pure tensor functions. Tensors in, tensors out: no modules, no config objects, no files.

Every fast op has a slow, obvious twin with the same signature, and a test that compares the two.
Which implementation runs on which device, and why, is decided in `dispatch`.

Shapes are written in one alphabet, here and in every docstring of the project:

    B  batch                       N  state width (recurrent state, per head)
    T  time, tokens                Q  chunk of a scan
    L  cached plus new tokens      W  convolution width
    D  model width                 K  codebooks
    H  heads                       V  vocabulary
    G  key/value groups            F  mel frames
    P  head width                  C  channels
    S  samples

Inside a formula the letters of the Mamba-2 paper are kept: `A` (decay rate, negative), `B` and
`C` (input and output maps, in attention words key and query), `D` (skip), `dt` (step size), `x`
(value), `z` (gate).
"""
