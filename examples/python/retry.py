# Asking again when the gateway says "not now".   LANYARD_KEY=sk-… python examples/python/retry.py "Say hello."
#
# The SDK does this by itself, twice by default: on 408, 409, 429, 5xx and lost connections, after as long as Retry-After
# says, and not where the gateway says `x-should-retry: false`. OpenAI(max_retries=5) is all that most scripts need. A loop
# of your own is for more than that: to say what is going on, to stop at a deadline, to ask another model.
import os
import random
import sys
import time

from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError, OpenAI

url = os.environ.get("LANYARD_URL", "http://localhost:4000")
key = os.environ.get("LANYARD_KEY") or os.environ.get("LITELLM_MASTER_KEY") or sys.exit("Set LANYARD_KEY.")
question = sys.argv[1] if len(sys.argv) > 1 else "Say hello."

client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def may_help(error):
    """Would the same request be answered later? Never after 400, 401, 403, 404 or 413: they say what to change."""
    if isinstance(error, APIStatusError):
        if error.response.headers.get("x-should-retry") == "false":
            return False
        return error.status_code in (408, 429) or error.status_code >= 500
    # After a timeout the engine may still be at work: asking again would double it.
    return isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError)


def pause_s(error, attempt):
    """As long as we are told; else 0.5, 1, 2, 4, 8 s, each a little shorter by chance, so that a crowd comes back scattered."""
    told = error.response.headers.get("retry-after") if isinstance(error, APIStatusError) else None
    return float(told) if told else min(8, 0.5 * 2**attempt) * random.uniform(0.75, 1)


def patiently(ask, attempts=6):
    for attempt in range(attempts):
        try:
            return ask()
        except APIError as error:
            if attempt == attempts - 1 or not may_help(error):
                raise
            pause = pause_s(error, attempt)
            print(f"{error.message}; again in {pause:.1f} s", file=sys.stderr, flush=True)
            time.sleep(pause)


try:
    # The first model this key may use, or the one you name.
    model = os.environ.get("LANYARD_MODEL") or patiently(client.models.list).data[0].id
    messages = [{"role": "user", "content": question}]
    answer = patiently(lambda: client.chat.completions.create(model=model, messages=messages))
    print(answer.choices[0].message.content)
except APIError as error:
    sys.exit(f"Lanyard: {error.__cause__ or error.message}")
