#!/bin/sh
# The Python packages of an image as a CycloneDX bill of materials: sbom.sh IMAGE FILE. Debian's packages are those of the base
# image, whose digest the image names in its labels.
set -eu
docker run --rm --network=none "$1" python -c "
from importlib.metadata import distributions
print(*sorted({f\"{one.metadata['Name']}=={one.version}\" for one in distributions()}), sep='\n')
" | cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON -o "$2" -
