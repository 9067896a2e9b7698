# A streamed chat: each piece is printed as it comes.   LANYARD_KEY=sk-… python examples/python/stream.py "Say hello."
import os
import sys

from openai import APIError, OpenAI

url = os.environ.get("LANYARD_URL", "http://localhost:4000")
key = os.environ.get("LANYARD_KEY") or os.environ.get("LITELLM_MASTER_KEY") or sys.exit("Set LANYARD_KEY.")
question = sys.argv[1] if len(sys.argv) > 1 else "Say hello."

client = OpenAI(base_url=f"{url}/v1", api_key=key)

try:
    # The first model this key may use, or the one you name.
    model = os.environ.get("LANYARD_MODEL") or client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        stream=True,
    )
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
except APIError as error:
    # A stream that breaks off ends up here too: what was printed is then not the whole answer.
    sys.exit(f"\nLanyard: {error.__cause__ or error.message}")
