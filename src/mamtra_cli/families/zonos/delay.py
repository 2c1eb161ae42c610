"""The delay pattern: codebook k is shifted right by k + 1, masks fill what is open.

At column p, codebook k holds frame p - k - 1; column 0 is all masks. After MusicGen (Copet et
al., arXiv 2306.05284) in the form of Zyphra/Zonos, zonos/codebook_pattern.py.
"""

from torch import Tensor


def delayed(codes: Tensor, mask: int) -> Tensor:
    """Shift codes (B, K, S) into columns (B, K, S + K); `mask` fills both ends."""
    batch, books, frames = codes.shape
    columns = codes.new_full((batch, books, frames + books), mask)
    for book in range(books):
        columns[:, book, book + 1 : book + 1 + frames] = codes[:, book]
    return columns
