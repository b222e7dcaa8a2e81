"""Replies as Flower's own strategies take them."""

from types import SimpleNamespace

from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict


def flower_replies(updates, weights):
    """One record of arrays and one with the number of examples from each node.

    Of a message the strategies use its content and whether it is an error, and making one needs a running task.
    """
    contents = [
        RecordDict(
            {
                "arrays": ArrayRecord({name: Array(value) for name, value in update.items()}),
                "metrics": MetricRecord({"num-examples": weight}),
            }
        )
        for update, weight in zip(updates, weights, strict=True)
    ]
    return [SimpleNamespace(content=content, has_error=lambda: False) for content in contents]


def numpy_arrays(record):
    return {name: array.numpy() for name, array in record.items()}
