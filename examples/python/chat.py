# A chat with the official SDK.   pip install openai && LANYARD_KEY=sk-… python examples/python/chat.py "Say hello."
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
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}])
    print(answer.choices[0].message.content)
except APIError as error:
    sys.exit(f"Lanyard: {error.__cause__ or error.message}")
