"""Show in a browser what a student keeps of an image, and what that changes and saves.

tokenthrift app                                a small network with embedded weights, and timm's
tokenthrift app student.safetensors            a student that student.save or a training wrote
tokenthrift app logs/.../best.ckpt             a training's checkpoint
tokenthrift app FILE --backbone deit_s         released or dense weights of a network
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..app.run import run

    run(__doc__ or "")
