# A chat without an SDK.   pip install requests && LANYARD_KEY=sk-… python examples/python/requests_chat.py "Say hello."
import os
import sys

import requests

url = os.environ.get("LANYARD_URL", "http://localhost:4000")
key = os.environ.get("LANYARD_KEY") or os.environ.get("LITELLM_MASTER_KEY") or sys.exit("Set LANYARD_KEY.")
question = sys.argv[1] if len(sys.argv) > 1 else "Say hello."

session = requests.Session()
session.headers["Authorization"] = f"Bearer {key}"


def ask(method, path, **more):
    # Seconds to connect, and of silence before the answer: an engine may first have to load the model.
    response = session.request(method, f"{url}/v1/{path}", timeout=(5, 600), **more)
    body = response.json()
    if not response.ok:
        sys.exit(f"Lanyard: {response.status_code} {body['error']['code']}: {body['error']['message']}")
    return body


try:
    # The first model this key may use, or the one you name.
    model = os.environ.get("LANYARD_MODEL") or ask("GET", "models")["data"][0]["id"]
    chat = {"model": model, "messages": [{"role": "user", "content": question}]}
    print(ask("POST", "chat/completions", json=chat)["choices"][0]["message"]["content"])
except requests.RequestException as error:
    sys.exit(f"No answer from {url}: {error}")
