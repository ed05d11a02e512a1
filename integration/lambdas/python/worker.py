"""Runs lambda_function.lambda_handler: one event a line in, one answer a line out."""

import json
import sys

import lambda_function

answers = sys.stdout
sys.stdout = sys.stderr  # what a function prints is its log

for line in sys.stdin:
    try:
        answer = {"Result": lambda_function.lambda_handler(json.loads(line), None)}
    except Exception as e:  # Lambda reports whatever a function raises
        answer = {"Type": type(e).__name__, "Message": str(e)}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
