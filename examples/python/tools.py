# A model that calls a function of yours.   LANYARD_KEY=sk-… python examples/python/tools.py "How warm is it in Oslo?"
# The model must know tools; in Ollama's library they are marked so, and vLLM wants --enable-auto-tool-choice.
import json
import os
import sys

from openai import APIError, OpenAI

url = os.environ.get("LANYARD_URL", "http://localhost:4000")
key = os.environ.get("LANYARD_KEY") or os.environ.get("LITELLM_MASTER_KEY") or sys.exit("Set LANYARD_KEY.")
question = sys.argv[1] if len(sys.argv) > 1 else "How warm is it in Oslo?"

client = OpenAI(base_url=f"{url}/v1", api_key=key)


def temperature(city):
    return {"city": city, "celsius": {"Oslo": 4, "Cairo": 31}.get(city)}


FUNCTIONS = {"temperature": temperature}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "temperature",
            "description": "The temperature in a city, now.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def run(call):
    """The function's result as the text the model reads. Its mistakes go back to it: it may well correct them."""
    try:
        return json.dumps(FUNCTIONS[call.function.name](**json.loads(call.function.arguments)))
    except (KeyError, TypeError, ValueError) as error:
        return json.dumps({"error": repr(error)})


try:
    # The first model this key may use, or the one you name.
    model = os.environ.get("LANYARD_MODEL") or client.models.list().data[0].id
    messages = [{"role": "user", "content": question}]
    for _ in range(5):  # A model that only ever calls functions must not keep us here.
        message = client.chat.completions.create(model=model, messages=messages, tools=TOOLS).choices[0].message
        if not message.tool_calls:
            print(message.content)
            break
        messages.append(message)
        for call in message.tool_calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": run(call)})
    else:
        sys.exit("No answer after five rounds of calls.")
except APIError as error:
    sys.exit(f"Lanyard: {error.__cause__ or error.message}")
