"""The quickstart with requests: discover, run, listen, poll, result, download; then a file through presign.

Usage: BASE_URL=http://127.0.0.1:…/api/v1 KEY=sk-local-… [OUT=picture.png] python quickstart.py
"""

import json
import os
import time

import requests

BASE_URL, KEY = os.environ["BASE_URL"], os.environ["KEY"]
OUT = os.environ.get("OUT", "quickstart.png")
session = requests.Session()
session.headers["Authorization"] = f"Bearer {KEY}"


def call(method, path, **more):
    answer = session.request(method, BASE_URL + path, timeout=30, **more)
    answer.raise_for_status()
    return answer


def run(workflow, parameters):
    answer = call("POST", f"/r/workflows/slug/{workflow}/run", json={"parameters": parameters})
    assert answer.status_code == 202, answer.status_code
    task = answer.json()["task_id"]
    print("task", task)
    return task


def listen(task):
    with session.get(f"{BASE_URL}/r/tasks/{task}/events", stream=True, timeout=60) as answer:
        answer.raise_for_status()
        event = ""
        for line in answer.iter_lines(decode_unicode=True):
            if line.startswith("event:"):
                event = line[6:].strip()
            elif line.startswith("data:"):
                data = json.loads(line[5:])
                print(" ", event, data.get("status", data.get("progress")))
    return event


def poll(task):
    while True:
        row = call("GET", f"/r/tasks/{task}").json()
        print(" ", row["task_status"])
        if row["task_status"] in ("completed", "failed", "cancelled"):
            return row["task_status"]
        time.sleep(2)


def download(task, path):
    result = call("GET", f"/r/tasks/{task}/result").json()
    answer = requests.get(result["download_url"], timeout=30)  # no key: the URL is the permission
    answer.raise_for_status()
    with open(path, "wb") as file:
        file.write(answer.content)
    print(" ", path, len(answer.content), "bytes,", answer.headers["Content-Type"])


def upload(path):
    size = os.path.getsize(path)
    promise = call("POST", "/r/files/presign",
                   json={"file_name": os.path.basename(path), "file_size": size, "content_type": "image/png"}).json()
    with open(path, "rb") as file:
        answer = requests.put(promise["upload_url"], data=file, headers=promise["upload_headers"], timeout=30)
    answer.raise_for_status()
    print(" ", promise["file_key"])
    return promise["file_key"]


print("1. discover")
for workflow in call("GET", "/r/workflows").json()["workflow_list"]:
    print(" ", workflow["workflow_slug"], workflow["version"], workflow["workflow_status"])
print("2. run")
task = run("text-to-image@2", {"prompt": "a sunset over mountains, 4k", "steps": 30})
print("3. listen")
assert listen(task) == "completed"
print("4. poll")
assert poll(task) == "completed"
print("5. result, 6. download")
download(task, OUT)
print("7. a file of one's own, upscaled")
task = run("upscale", {"image": upload(OUT), "scale": "2"})
assert poll(task) == "completed"
download(task, os.path.splitext(OUT)[0] + "-upscaled.png")
