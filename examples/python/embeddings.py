# Search by meaning: which of these texts is nearest to the first?
#     LANYARD_KEY=sk-… LANYARD_EMBEDDING_MODEL=nomic-embed-text python examples/python/embeddings.py "to cook" "a pan" "a key"
import math
import os
import sys

from openai import APIError, OpenAI

url = os.environ.get("LANYARD_URL", "http://localhost:4000")
key = os.environ.get("LANYARD_KEY") or os.environ.get("LITELLM_MASTER_KEY") or sys.exit("Set LANYARD_KEY.")
model = os.environ.get("LANYARD_EMBEDDING_MODEL") or sys.exit("Set LANYARD_EMBEDDING_MODEL: one of GET /v1/models.")
question, *texts = sys.argv[1:] if len(sys.argv) > 2 else ["to cook", "a frying pan", "a door key", "a tax return"]


def likeness(a, b):
    """The cosine of their angle: 1 is the same direction."""
    return sum(x * y for x, y in zip(a, b)) / (math.hypot(*a) * math.hypot(*b))


try:
    # All texts in one request: engines embed a batch at once.
    data = OpenAI(base_url=f"{url}/v1", api_key=key).embeddings.create(model=model, input=[question, *texts]).data
    wanted, *vectors = [item.embedding for item in data]
    for score, text in sorted(zip((likeness(wanted, vector) for vector in vectors), texts), reverse=True):
        print(f"{score:.3f}  {text}")
except APIError as error:
    sys.exit(f"Lanyard: {error.__cause__ or error.message}")
