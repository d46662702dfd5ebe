"""Text for the examples: from any OpenAI-compatible endpoint, or from a local generator that says what it is.

To ask a real model, set LLM_BASE_URL (such as https://api.example.com/v1), LLM_API_KEY and, if need be, LLM_MODEL.
"""

from __future__ import annotations

import json
import os
import random
import urllib.request

TIMEOUT = 60  # seconds for one answer


def write(prompt: str) -> str:
    """The answer to a prompt. Blocks: call it from a sync node, which runs in a worker thread.

    Raises:
        OSError: the endpoint does not answer, or answers with an error status.
    """
    url, key = os.environ.get("LLM_BASE_URL"), os.environ.get("LLM_API_KEY")
    return ask(prompt, url, key) if url and key else make_up(prompt)


def ask(prompt: str, url: str, key: str) -> str:
    """What a language model says, over the chat completions API."""
    question = {
        "model": os.environ.get("LLM_MODEL", "gpt-4o-mini"),
        "messages": [{"role": "user", "content": prompt}],
    }
    request = urllib.request.Request(
        f"{url.rstrip('/')}/chat/completions",
        data=json.dumps(question).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        answer: str = json.load(response)["choices"][0]["message"]["content"]
    return answer.strip()


def make_up(prompt: str) -> str:
    """Words that a random generator, seeded with the prompt, puts together: always the same for the same prompt."""
    chosen = random.Random(prompt)
    verbs = chosen.sample(("survey", "map", "drill", "build", "test", "measure", "return", "repair"), 3)
    places = chosen.sample(("the rim", "the old base", "the ice", "the landing site", "the far side"), 2)
    return f"[no model: made up locally] {verbs[0]} {places[0]}, {verbs[1]} {places[1]}, then {verbs[2]}"
