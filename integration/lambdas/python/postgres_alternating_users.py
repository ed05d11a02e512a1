"""Rotates the passwords of two PostgreSQL users in turn, by a superuser.

A rotation function of the shape that AWS publishes: the superuser's secret is
the one that the secret's "masterarn" names.
"""

import json
import os

import boto3
import pgdb


def lambda_handler(event, context):
    arn, token, step = event["SecretId"], event["ClientRequestToken"], event["Step"]
    client = boto3.client("secretsmanager", endpoint_url=os.environ["SECRETS_MANAGER_ENDPOINT"])
    about = client.describe_secret(SecretId=arn)
    if "RotationEnabled" in about and not about["RotationEnabled"]:
        raise ValueError("Secret %s is not enabled for rotation" % arn)
    stages = about["VersionIdsToStages"].get(token)
    if stages is None:
        raise ValueError("Secret version %s has no stage for rotation of secret %s." % (token, arn))
    if "AWSCURRENT" in stages:
        return
    if "AWSPENDING" not in stages:
        raise ValueError("Secret version %s not set as AWSPENDING for rotation of secret %s." % (token, arn))
    if step == "createSecret":
        create(client, arn, token)
    elif step == "setSecret":
        change(client, arn, token)
    elif step == "testSecret":
        if not login(value(client, arn, "AWSPENDING", token)):
            raise ValueError("Unable to log into database with pending secret of secret ARN %s" % arn)
    elif step == "finishSecret":
        current = [v for v, s in about["VersionIdsToStages"].items() if "AWSCURRENT" in s][0]
        client.update_secret_version_stage(
            SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=current)
    else:
        raise ValueError("Invalid step parameter %s for secret %s" % (step, arn))


def value(client, arn, stage, token=None):
    which = {"VersionId": token} if token else {}
    return json.loads(client.get_secret_value(SecretId=arn, VersionStage=stage, **which)["SecretString"])


def login(secret):
    try:
        return pgdb.connect(
            host=secret["host"], port=int(secret.get("port", 5432)), database=secret.get("dbname", "postgres"),
            user=secret["username"], password=secret["password"], connect_timeout=5)
    except pgdb.InternalError:
        return None


def other(user):
    return user[: -len("_clone")] if user.endswith("_clone") else user + "_clone"


def create(client, arn, token):
    pending = value(client, arn, "AWSCURRENT")
    try:
        value(client, arn, "AWSPENDING", token)
    except client.exceptions.ResourceNotFoundException:
        pending["username"] = other(pending["username"])
        pending["password"] = client.get_random_password(ExcludeCharacters=":/@\"'\\")["RandomPassword"]
        client.put_secret_value(
            SecretId=arn, ClientRequestToken=token, SecretString=json.dumps(pending), VersionStages=["AWSPENDING"])


def change(client, arn, token):
    pending, current = value(client, arn, "AWSPENDING", token), value(client, arn, "AWSCURRENT")
    if login(pending):
        return
    if other(current["username"]) != pending["username"] or current["host"] != pending["host"]:
        raise ValueError("Attempting to modify user %s other than current user or clone" % pending["username"])
    if not login(current):
        raise ValueError("Unable to log into database using current credentials for secret %s" % arn)
    master = value(client, current["masterarn"], "AWSCURRENT")
    master["dbname"] = current.get("dbname", "postgres")
    connection = login(master)
    if not connection:
        raise ValueError("Unable to log into database using credentials in master secret %s" % current["masterarn"])
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(%s), quote_ident(%s)", (pending["username"], current["username"]))
        user, model = cursor.fetchone()
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (pending["username"],))
        if cursor.fetchone():
            cursor.execute("ALTER USER " + user + " WITH PASSWORD %s", (pending["password"],))
        else:
            cursor.execute("CREATE ROLE " + user + " WITH LOGIN PASSWORD %s", (pending["password"],))
            cursor.execute("GRANT " + model + " TO " + user)
    connection.close()
