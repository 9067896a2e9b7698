"""The official Python SDK and batches: reads lines {"step", "base", "key", "model", ...} from standard input, does each step, and
prints what came of it as a line of JSON. batches.test.ts starts it and judges the results; client-sized waits are the SDK's own.

    python batches.py
"""

import json
import sys
import time

import openai
from openai import OpenAI

ENDS = ("completed", "failed", "expired", "cancelled")
CHAT = "/v1/chat/completions"


def line(custom_id, model):
    body = {"model": model, "messages": [{"role": "user", "content": custom_id}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}) + "\n"


def submit(client, model, ids):
    text = "".join(line(custom_id, model) for custom_id in ids)
    file = client.files.create(file=("lines.jsonl", text.encode()), purpose="batch")
    metadata = {"from": "the SDK"}
    return file, client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata=metadata
    )


def ended(client, id):
    """As the documents have it, and never for ever: the last state, and those on the way."""
    seen = []
    until = time.monotonic() + 15
    while time.monotonic() < until:
        batch = client.batches.retrieve(id)
        if batch.status not in seen:
            seen.append(batch.status)
        if batch.status in ENDS:
            return batch, seen
        time.sleep(0.02)
    raise TimeoutError(f"{id} is {seen[-1]}")


def round_trip(client, model):
    file, made = submit(client, model, ["a", "b", "c"])
    told = client.files.retrieve(file.id)
    listed = [one.id for one in client.files.list()]
    batch, seen = ended(client, made.id)
    lines = [json.loads(text) for text in client.files.content(batch.output_file_id).text.splitlines()]
    files = [file.id, batch.output_file_id]
    return {
        "file": [told.object, told.purpose, told.filename, told.bytes == file.bytes],
        "listed": file.id in listed,
        "made": [made.object, made.endpoint, made.completion_window, made.metadata],
        "status": batch.status,
        "known": all(status in (*ENDS, "validating", "in_progress", "finalizing") for status in seen),
        "counts": batch.request_counts.model_dump(),
        "used": batch.usage.total_tokens > 0,
        "answers": {one["custom_id"]: one["response"]["status_code"] for one in lines},
        "deleted": [client.files.delete(id).deleted for id in files],
        "gone": [raised(lambda id=id: client.files.retrieve(id))["class"] for id in files],
    }


def pages(client, model):
    made = [submit(client, model, [f"page-{n}"])[1].id for n in range(5)]
    for id in made:
        ended(client, id)
    return {
        "newest_first": [batch.id for batch in client.batches.list(limit=2)] == made[::-1],
        "first_page": len(client.batches.list(limit=2).data),
        "after": [batch.id for batch in client.batches.list(limit=2, after=made[1])] == [made[0]],
    }


def chat(client, model, content="Hi", idempotency_key=None):
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    messages = [{"role": "user", "content": content}]
    return raised(
        lambda: client.chat.completions.create(
            model=model, messages=messages, extra_headers={"x-lanyard-mode": "batch-sync", **headers}
        ).choices[0].message.content
    )


def raised(ask):
    """The SDK's own class, and what it says."""
    try:
        return {"said": ask()}
    except openai.APIError as error:
        return {
            "class": type(error).__name__,
            "is_api_error": True,
            "status": getattr(error, "status_code", None),
            "code": error.code,
        }


STEPS = {
    "round": round_trip,
    "pages": pages,
    "submit": lambda client, model, ids: submit(client, model, ids)[1].id,
    "cancel": lambda client, model, id: client.batches.cancel(id).status,
    "ended": lambda client, model, id: ended(client, id)[0].status,
    "chat": chat,
    "retrieve": lambda client, model, id: raised(lambda: client.batches.retrieve(id).status),
}

for text in sys.stdin:
    asked = json.loads(text)
    step, base, key, model = (asked.pop(name) for name in ("step", "base", "key", "model"))
    # Everything by default but what is said: a read timeout in seconds, and how often it tries again.
    more = {"timeout": openai.Timeout(600, connect=5, read=asked.pop("read"))} if "read" in asked else {}
    if "max_retries" in asked:
        more["max_retries"] = asked.pop("max_retries")
    try:
        result = STEPS[step](OpenAI(base_url=base, api_key=key, **more), model, **asked)
    except Exception as error:  # Told, so that the next steps still count.
        result = f"{type(error).__name__}: {error}"
    print(json.dumps(result), flush=True)
