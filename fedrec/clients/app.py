"""The market's Flower ClientApp: which task answers which message."""

from functools import partial

from flwr.clientapp import ClientApp

from fedrec.clients import codes, masks, tasks
from fedrec.clients.install import install
from fedrec.clients.messages import Task, answer
from fedrec.exchange import declaration

app = ClientApp()

TASKS: dict[str, Task] = {
    declaration.HELLO: tasks.hello,
    declaration.VOCABULARY: tasks.vocabulary,
    declaration.CATALOGUE: tasks.catalogue,
    declaration.GRAM: tasks.gram,
    declaration.STATISTICS: tasks.statistics,
    declaration.MASK_KEYS: masks.announce,
    declaration.MASK_SHARES: masks.share,
    declaration.UNMASK: masks.open_shares,
    declaration.INSTALL: install,
    declaration.PRETRAIN: tasks.pretrain,
    declaration.REFIT: tasks.refit,
    declaration.VALIDATE: tasks.validate,
    declaration.FINETUNE: tasks.finetune,
    **{
        action: partial(tasks.train_local_baseline, method=method)
        for method, action in declaration.LOCAL_BASELINES.items()
    },
    declaration.COLLABORATIVE: codes.collaborative,
    declaration.CODEBOOK: codes.codebook,
    declaration.VALIDATE_CODEBOOK: codes.validate_codebook,
    declaration.CODES: codes.codes,
    declaration.CTR: codes.train_predictors,
    declaration.REPORT: tasks.report,
}

_REGISTER = {"query": app.query, "train": app.train, "evaluate": app.evaluate}

for _action, _task in TASKS.items():
    _category, _, _name = _action.partition(".")
    _REGISTER[_category](_name)(partial(answer, task=_task))
