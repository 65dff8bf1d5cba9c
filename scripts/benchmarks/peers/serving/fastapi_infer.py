"""FastAPI, as in its documentation: a body of declared numbers, and the model in the same process."""

from fastapi import FastAPI
from model import trained_model
from pydantic import BaseModel
from serving.row import Row

app = FastAPI()
model = trained_model()


class Score(BaseModel):
    """The probability that their noisy sum is above 0."""

    score: float


@app.post("/infer")
async def infer(row: Row) -> Score:
    """Score a row; `async`, since a thread for so little work would make it slower."""
    return Score(score=model.predict_proba_one(row.model_dump()).get(True, 0.5))
