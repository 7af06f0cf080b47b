#!/bin/sh
# pysdf is published as source only and looks for Eigen in /usr/include/eigen3. Eigen comes from PyPI too (cmeel-eigen), so no
# root is needed. Where it cannot be built, libigl gives the distances and every shard says so.
python=$1
"$python" -c "import pysdf" 2>/dev/null && exit 0
log=$(mktemp)
if "$python" -m pip install --quiet --constraint requirements.lock cmeel-eigen >"$log" 2>&1 &&
    CPLUS_INCLUDE_PATH="$("$python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")/cmeel.prefix/include/eigen3" \
        "$python" -m pip install --quiet --constraint requirements.lock pysdf >>"$log" 2>&1; then
    rm -f "$log"
else
    echo "pysdf could not be built (needs a C++ compiler; log: $log): libigl gives the signed distances instead, about 8 % slower."
fi
