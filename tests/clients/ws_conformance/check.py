#!/usr/bin/env python3
"""Plays the cases of Autobahn's fuzzing client against an echo server of WebSocket (RFC 6455).

check.py server URL    all of them but those of compression
check.py self-test     proves that a right server passes and that broken ones do not

The cases are Autobahn's own files (sections 1 to 7, 9 and 10), which kosoku plays: Autobahn itself is Python 2. Ends with 0
when all is well, with 1 when something is wrong, which is then told a line each, and with 2 when it was not asked properly.
"""

import asyncio
import sys
from collections import Counter

import kosoku

# Thinkwire compresses nothing.
COMPRESSION = ["12.*", "13.*"]
# How many each section has; a package that lost some of them must not go unnoticed.
SECTIONS = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1}
# What a server may do: as it should, as it may where the standard says "should", or anything where it says nothing.
ALLOWED = {"OK", "NON-STRICT", "INFORMATIONAL"}
# Most cases wait for something, so that more of them at a time take less.
AT_A_TIME = 4


async def play(url, cases=None):
    try:
        return await kosoku.run_fuzzingclient(url, cases, COMPRESSION, concurrency=AT_A_TIME)
    except kosoku.FailureError as failure:
        return failure.results


def passed(result):
    # Both, whatever the runner makes of them.
    return result.behavior.value in ALLOWED and result.behavior_close.value in ALLOWED


def told(result):
    outcome = f"{result.behavior.value}, closing {result.behavior_close.value}"
    codes = f"closed with {result.local_close_code} here, {result.remote_close_code} there"
    return f"{result.case_id}: {outcome}: {result.result} {result.result_close} ({codes})"


async def check(url):
    results = await play(url)
    wrong = [result for result in results if not passed(result)]
    for result in results:
        if result in wrong or result.behavior.value == "NON-STRICT":
            print(told(result))
    sections = Counter(result.case_id.split(".")[0] for result in results)
    if sections != SECTIONS:
        print(f"other cases than expected were played: {dict(sections)}")
    kinds = Counter(result.behavior.value for result in results)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    print(f"{len(results)} cases, {len(wrong)} failed")
    return 1 if wrong or sections != SECTIONS else 0


async def self_test():
    from broken import FLAWS, serving

    failures, count = [], 0
    async with serving(None) as url:
        # The large messages of section 9 are for faster servers.
        for result in await play(url, [f"{section}.*" for section in SECTIONS if section != "9"] + ["9.7.1", "9.8.1"]):
            count += 1
            if not passed(result):
                failures.append(f"a right server is refused: {told(result)}")
    for flaw, cases in FLAWS.items():
        async with serving(flaw) as url:
            for result in await play(url, cases):
                if passed(result):
                    failures.append(f"{flaw}: not noticed by {result.case_id}")
    print("".join(f"{failure}\n" for failure in failures), end="")
    print(f"{count} right, {len(FLAWS)} broken servers, {len(failures)} misjudged")
    return 1 if failures or not count else 0


def main(arguments):
    match arguments:
        case ["server", url]:
            return asyncio.run(check(url))
        case ["self-test"]:
            return asyncio.run(self_test())
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
