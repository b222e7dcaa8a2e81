#!/bin/sh
# Take out of a virtual environment what no container runs: headers, static libraries, symbols, tests, stubs, and the
# tools that install packages. Bytecode stays for what is imported here, because containers cannot write their own.
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
rm -rf "$1"/bin/uv "$1"/bin/uvx "$1"/bin/pip* "$1"/include "$1"/share \
    "$site"/pip "$site"/pip-* "$site"/uv \
    "$site"/torch/include "$site"/torch/test "$site"/torch/share \
    "$site"/matplotlib/mpl-data/sample_data "$site"/sklearn/datasets/data "$site"/sklearn/datasets/images
find "$site" -type d \( -name tests -o -name test \) ! -path '*/torch/*' -prune -exec rm -rf {} +
find "$site" -type f \( -name '*.a' -o -name '*.pyi' -o -name '*.h' -o -name '*.hpp' -o -name '*.pxd' -o -name '*.pyx' \
    -o -name '*.c' -o -name '*.cpp' -o -name '*.cuh' -o -name '*.pyc' \) -delete
find "$site"/torch/bin -type f ! -name torch_shm_manager -delete
# The large ones alone: small ones are often patched, and then do not survive it.
strip --strip-unneeded "$site"/torch/lib/libtorch_cpu.so "$site"/torch/lib/libtorch_python.so \
    "$site"/_polars_runtime*/*.so
"$1"/bin/python -c "
import importlib
for name in '''torch torch.optim torch.func torch.nn.functional flwr.clientapp flwr.serverapp
        flwr.superlink.cli.flower_superlink flwr.superlink.main flwr.superlink.runtime.run_serverapp
        flwr.supernode.cli.flower_supernode flwr.supernode.main flwr.supernode.runtime.run_clientapp flwr.supercore.control
        flwr.cli.install flwr.cli.build sqlalchemy alembic uvicorn fastapi httpx polars numpy scipy.stats scipy.sparse
        scipy.linalg scipy.optimize sklearn.cluster sklearn.decomposition sklearn.metrics sklearn.feature_extraction.text
        pydantic yaml safetensors.torch safetensors.numpy faiss threadpoolctl typer rich.console rich.table dp_accounting.pld
        dp_accounting.rdp cryptography.hazmat.primitives.serialization cryptography.x509 jinja2
        matplotlib.pyplot'''.split():
    importlib.import_module(name)
"
