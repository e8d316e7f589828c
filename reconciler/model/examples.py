"""One document of every kind, or several where fields exclude each other: every field of a spec stands in one.

Imports nothing of ours. In: nothing.  Out: plain documents, to `reconciler explain` and docs/reference; a test
declares each.
"""

from functools import cache
from typing import Any, Final

EXAMPLES: Final = """\
apiVersion: ai.kubeedge.io/v1alpha1
kind: InferenceModel
metadata: {name: defect-edge-7, namespace: default}
spec:
  modelName: defect
  deployToLayer: edge
  nodeName: edge-7
  nodeSelector: {site: berlin}
  frameworkType: onnx
  servingPort: 8080
  replicas: 1
  manifest:
  - version: '2'
    downloadURL: https://models.example.com/defect-2.tar.gz
    sha256sum: fb0e4c9975381b35746f8c58cf50cfb6e7fc2896fa7a941623a815cbb9dd1fba
    size: 19565
  targetVersion: '2'
---
apiVersion: ai.kubeedge.io/v1alpha1
kind: InferenceModel
metadata: {name: defect-cloud}
spec:
  modelName: defect
  deployToLayer: cloud
  frameworkType: onnx
  image: registry.example.com/defect:2
---
apiVersion: ai.kubeedge.io/v1alpha1
kind: InferenceModel
metadata: {name: defect-edge-8}
spec:
  modelName: defect
  deployToLayer: edge
  nodeName: edge-8
  frameworkType: onnx
  modelRef: defect
  targetVersion: '2'
---
apiVersion: ai.kubeedge.io/v1alpha1
kind: InferenceModelSet
metadata: {name: defect}
spec:
  edgeSelector: {matchLabels: {site: berlin}}
  defaultVersion: '2'
  template:
    spec:
      modelName: defect
      deployToLayer: edge
      frameworkType: onnx
      modelRef: defect
      servingPort: 8080
      replicas: 1
---
apiVersion: ai.kubeedge.io/v1alpha1
kind: InferenceModelSet
metadata: {name: surface}
spec:
  edgeSelector: {matchLabels: {}}
  template:
    spec:
      modelName: surface
      deployToLayer: edge
      frameworkType: onnx
      manifest:
      - version: '1'
        downloadURL: https://models.example.com/surface-1.tar.gz
        sha256sum: 65f4447f967c32225908210759b77a28aadc80803d704e5065f48c2ceeaf9bd6
        size: 3760
---
apiVersion: ai.kubeedge.io/v1alpha1
kind: InferenceModelSet
metadata: {name: vendor}
spec:
  edgeSelector: {matchLabels: {site: berlin}}
  template:
    spec:
      modelName: vendor
      deployToLayer: edge
      frameworkType: custom
      image: registry.example.com/vendor:1
---
apiVersion: ai.kubeedge.io/v1alpha1
kind: Model
metadata: {name: defect, annotations: {example.com/owner: vision}}
spec:
  frameworkType: onnx
  task: image-classification
  labels: [good, scratch, dent]
  versions:
  - version: '2'
    downloadURL: https://models.example.com/defect-2.tar.gz
    sha256sum: fb0e4c9975381b35746f8c58cf50cfb6e7fc2896fa7a941623a815cbb9dd1fba
    size: 19565
    metrics:
    - {name: accuracy, value: 0.9806, dataset: defects@2026-11, split: test, source: measured}
---
apiVersion: ai.kubeedge.io/v1alpha1
kind: Dataset
metadata: {name: defects}
spec:
  format: csv
  versions:
  - version: '2026-11'
    downloadURL: https://data.example.com/defects-2026-11.csv.gz
    sha256sum: aa56e2feee1f03718d9d83f5bb71252decae7005b7cce1f1b13db6fa5e43adb9
    size: 11325
  defaultVersion: '2026-11'
  edges:
    bytes: {matchLabels: {ring: canary}}
    metadata: {matchLabels: {}}
---
apiVersion: ai.kubeedge.io/v1alpha1
kind: Edge
metadata: {name: edge-7, labels: {site: berlin, ring: canary}}
spec:
  nodeName: node-7
  address: 127.0.0.2
  pins:
  - {model: defect, version: '1', reason: line 7 has the old camera, expires: '2026-12-31'}
  - {dataset: defects, version: '2026-11'}
---
apiVersion: ai.kubeedge.io/v1alpha1
kind: Fleet
metadata: {name: fleet}
spec:
  prune: {maxDeletes: 20, maxShare: 10%}
  artifacts: {requireDigest: true, allowLoopback: false, allowFile: false}
  drift:
  - kinds: [InferenceModel]
    fields: [spec.replicas]
    managers: [kubectl-edit]
    policy: report
  adopt: false
  overrideManagers: [kubectl*, before-first-apply]
  freeze:
  - {from: '2026-12-20', until: '2027-01-03', reason: the shops are full, scope: all}
  - {days: [fri], from: '12:00', until: '18:00', timeZone: Europe/Berlin, reason: nobody is here at the weekend}
---
apiVersion: v1
kind: Namespace
metadata:
  name: berlin
  annotations: {ai.kubeedge.io/prune: enabled}
"""


@cache
def _documents() -> tuple[dict[str, Any], ...]:
    import yaml

    return tuple(yaml.safe_load_all(EXAMPLES))


def examples(kind: str = "") -> list[dict[str, Any]]:
    """The documents of a kind, or all of them."""
    return [document for document in _documents() if kind in {"", document["kind"]}]
