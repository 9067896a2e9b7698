# A gateway that answers by batches, from the command line.   pip install openai, then:
#     python examples/python/client.py --api chat_completions --content "Write a joke"
#     python examples/python/client.py --api status_single_batch --batch_id batch_123      (or cancel_batch)
#     python examples/python/client.py --api status_all_batches --status_filter completed  (or not_completed)
import argparse
import os
import sys
from datetime import datetime

from openai import APIError, OpenAI


def main():
    parser = argparse.ArgumentParser(description="Ask a gateway that answers by batches, and look after the batches.")
    calls = {
        "chat_completions": chat_completions,
        "status_single_batch": status_single_batch,
        "status_all_batches": status_all_batches,
        "cancel_batch": cancel_batch,
    }
    parser.add_argument("--api", required=True, choices=calls)
    parser.add_argument("--content", help="what to ask (chat_completions)")
    parser.add_argument("--batch_id", help="which batch (status_single_batch, cancel_batch)")
    parser.add_argument("--status_filter", choices=["completed", "not_completed"], help="which (status_all_batches)")
    parser.add_argument("--model", default="gpt-3.5-turbo")
    parser.add_argument("--base-url", default=os.environ.get("OPENAI_BASE_URL") or "http://localhost:8080/v1")
    args = parser.parse_args()

    # Where no key is asked for, any text will do; the SDK wants one.
    client = OpenAI(base_url=args.base_url, api_key=os.environ.get("OPENAI_API_KEY") or "dummy_openai_api_key")
    try:
        calls[args.api](client, args)
    except APIError as error:
        # One line: what a proxy in front answers may be a whole page.
        sys.exit("Error: " + " ".join(str(error.__cause__ or error.message).split()))


def chat_completions(client, args):
    content = args.content or sys.exit("--content is missing: what is to be asked?")
    answer = client.chat.completions.create(model=args.model, messages=[{"role": "user", "content": content}])
    # A gateway that does not wait for the batch answers with its id, and with nothing else.
    if not answer.choices:
        print(f"Submitted as batch {answer.id}")
        print(f"Look at it with: --api status_single_batch --batch_id {answer.id}")
        return
    choice = answer.choices[0]
    print(f"Role: {choice.message.role}")
    print(f"Content: {choice.message.content}")
    print(f"Finish reason: {choice.finish_reason}")
    if answer.usage:
        print(f"Prompt tokens: {answer.usage.prompt_tokens}")
        print(f"Completion tokens: {answer.usage.completion_tokens}")
        print(f"Total tokens: {answer.usage.total_tokens}")


def status_single_batch(client, args):
    show(client.batches.retrieve(batch_id(args)))


def status_all_batches(client, args):
    # The SDK asks for page after page.
    batches = list(client.batches.list(limit=100))
    if args.status_filter:
        wanted = args.status_filter == "completed"
        batches = [batch for batch in batches if (batch.status == "completed") == wanted]
    for batch in batches:
        show(batch)
        print()
    print(f"{len(batches)} batches")


def cancel_batch(client, args):
    show(client.batches.cancel(batch_id(args)))


def batch_id(args):
    return args.batch_id or sys.exit("--batch_id is missing: which batch?")


def show(batch):
    counts = batch.request_counts
    print(f"Batch: {batch.id}")
    print(f"Status: {batch.status}")
    print(f"Created: {clock(batch.created_at)}")
    print(f"Expires: {clock(batch.expires_at)}")
    if counts:
        print(f"Requests: {counts.total} total, {counts.completed} completed, {counts.failed} failed")


def clock(seconds):
    return datetime.fromtimestamp(seconds).isoformat(sep=" ") if seconds else "-"


if __name__ == "__main__":
    main()
