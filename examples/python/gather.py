# Several questions at once, the answers in the questions' order.
#     LANYARD_KEY=sk-… python examples/python/gather.py "What is TLS?" "What is DNS?" "What is NTP?"
import asyncio
import os
import sys

from openai import APIError, AsyncOpenAI

url = os.environ.get("LANYARD_URL", "http://localhost:4000")
key = os.environ.get("LANYARD_KEY") or os.environ.get("LITELLM_MASTER_KEY") or sys.exit("Set LANYARD_KEY.")
questions = sys.argv[1:] or ["What is TLS?", "What is DNS?", "What is NTP?"]

# However many questions there are, no more than this at once: a key has a limit, and so has the patience of the others.
at_once = asyncio.Semaphore(8)


async def main():
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client:
        # The first model this key may use, or the one you name.
        model = os.environ.get("LANYARD_MODEL") or (await client.models.list()).data[0].id

        async def ask(question):
            async with at_once:
                messages = [{"role": "user", "content": question}]
                answer = await client.chat.completions.create(model=model, messages=messages)
                return answer.choices[0].message.content

        # One that fails fails them all; with return_exceptions=True it would be in the list, in the place of its answer.
        answers = await asyncio.gather(*(ask(question) for question in questions))

    for question, answer in zip(questions, answers):
        print(f"{question}\n    {answer}")


try:
    asyncio.run(main())
except APIError as error:
    sys.exit(f"Lanyard: {error.__cause__ or error.message}")
