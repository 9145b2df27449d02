"""Two tasks to trigger, if your role may: Admin and Op can, Viewer only looks."""

from __future__ import annotations

from airflow.sdk import dag, task


@dag(schedule=None, tags=["demo"])
def hello() -> None:
    @task
    def fetch_name() -> str:
        return "world"

    @task
    def greet(name: str) -> None:
        print(f"Hello, {name}!")

    greet(fetch_name())


hello()
