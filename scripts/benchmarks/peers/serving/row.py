"""What the FastAPI programs are sent."""

from pydantic import BaseModel


class Row(BaseModel):
    """Ten numbers."""

    f0: float
    f1: float
    f2: float
    f3: float
    f4: float
    f5: float
    f6: float
    f7: float
    f8: float
    f9: float
