"""What is given to Kubernetes: valid by its own schemas, as Prefect's worker fills it in."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.utilities.templating import apply_values
from prefect_kubernetes.settings import KubernetesSettings
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "infra" / "kubernetes"


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    """Check a manifest by Kubernetes' published schemas, unknown fields refused."""
    tool = Path(sys.executable).parent / "kubernetes-validate"
    return subprocess.run(
        [tool, "--strict", path], capture_output=True, text=True, check=False, timeout=60
    )


def filled(**variables: Any) -> dict[str, Any]:
    """The job that Prefect's Kubernetes worker makes of the template and a run's variables."""
    template = json.loads((KUBERNETES / "base-job-template.json").read_text())
    defaults = {
        name: variable["default"]
        for name, variable in template["variables"]["properties"].items()
        if "default" in variable
    }
    values = {**defaults, **variables}
    # The worker's own class; it refuses a job without what the worker counts on.
    configuration = KubernetesWorkerJobConfiguration(
        **apply_values(template["job_configuration"], values)
    )
    job: dict[str, Any] = configuration.job_manifest
    # The worker wants these two here, though they are a job's, and Kubernetes ignores them.
    for misplaced in ("parallelism", "completions"):
        del job["spec"]["template"]["spec"][misplaced]
    return job


@pytest.mark.parametrize(
    "variables",
    [{}, {"gpus": 0}, {"gpu_node_selector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}],
    ids=["defaults", "no GPU", "one kind of node"],
)
def test_the_jobs_are_valid(variables: dict[str, Any], tmp_path: Path) -> None:
    """A run's job is one that Kubernetes takes."""
    path = tmp_path / "job.yaml"
    job = filled(**variables)
    job["spec"]["template"]["spec"]["containers"][0]["args"] = ["prefect", "flow-run", "execute"]
    job["spec"]["template"]["spec"]["containers"][0]["env"] = []
    # What the worker asks for by generateName, the cluster names.
    job["metadata"] = {"name": "segment-1", "labels": job["metadata"].get("labels") or {}}
    path.write_text(yaml.safe_dump(job))

    done = validate(path)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["sweep-bucket", "recover-runs"])
def test_what_only_looks_gets_no_gpu(name: str) -> None:
    """It need not wait for a node that has one."""
    specs = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text())["deployments"]
    (looks,) = [spec for spec in specs if spec["name"] == name]

    spec = filled(**looks["work_pool"]["job_variables"])["spec"]["template"]["spec"]

    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 0
    assert not spec["nodeSelector"]


def test_a_run_gets_one_gpu_where_gpus_are() -> None:
    """The pod asks for one GPU and goes to nodes that are kept for GPUs, spot ones too."""
    spec = filled()["spec"]["template"]["spec"]

    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    keys = {toleration["key"] for toleration in spec["tolerations"]}
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot"} <= keys


def test_an_evicted_run_has_time_to_save() -> None:
    """There are at least 30 s between SIGTERM and SIGKILL, and a variable sets how many."""
    assert filled()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 30
    asked = filled(grace_seconds=25)["spec"]["template"]["spec"]
    assert asked["terminationGracePeriodSeconds"] == 25


def test_runs_have_no_rights() -> None:
    """The pod is not root's, can gain nothing, and has no token of the cluster."""
    spec = filled()["spec"]["template"]["spec"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False


def test_kubernetes_does_not_run_a_job_again() -> None:
    """Prefect alone decides on another try: the job has none of its own."""
    assert filled()["spec"]["backoffLimit"] == 0


def test_every_variable_is_used() -> None:
    """Prefect drops a variable in silence that the job does not name."""
    template = json.loads((KUBERNETES / "base-job-template.json").read_text())
    used = json.dumps(template["job_configuration"])

    unused = [
        name for name in template["variables"]["properties"] if f"{{{{ {name} }}}}" not in used
    ]
    assert unused == []


def test_the_worker_is_valid() -> None:
    """Kubernetes takes the manifests of worker and listener."""
    done = validate(KUBERNETES / "worker.yaml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_validator_would_find_something(tmp_path: Path) -> None:
    """The same check refuses a field that does not exist."""
    path = tmp_path / "bad.yaml"
    content = (KUBERNETES / "worker.yaml").read_text()
    path.write_text(content.replace("replicas: 1", "replica: 1", 1))

    assert validate(path).returncode != 0


def test_the_worker_watches_only_what_its_role_lets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rights end at its namespace, so its observer is told to look no further."""
    documents = list(yaml.safe_load_all((KUBERNETES / "worker.yaml").read_text()))
    kinds = {document["kind"] for document in documents}
    worker = next(
        item
        for item in documents
        if item["metadata"]["name"] == "longtake-worker" and item["kind"] == "Deployment"
    )
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    (namespace,) = (item for item in container["env"] if item["name"].endswith("_NAMESPACES"))
    monkeypatch.setenv(namespace["name"], "videos")

    assert "ClusterRole" not in kinds
    assert namespace["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert KubernetesSettings().observer.namespaces == {"videos"}


def test_the_secret_has_all_that_is_needed() -> None:
    """What worker, listener and runs cannot do without, the queue's region included."""
    page = (ROOT / "infra" / "README.md").read_text()

    given = set(re.findall(r"--from-literal=(\w+)=", page))

    assert {"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= given
    assert {"PREFECT_API_URL", "LONGTAKE_QUEUE_URL", "LONGTAKE_RESULTS"} <= given
